"""How far the search goes."""


def pytest_addoption(parser):
    parser.addoption("--model-epochs", type=int, default=3, help="highest epoch of a record")
    parser.addoption("--model-writes", type=int, default=2, help="client writes outstanding")
