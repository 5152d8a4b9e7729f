"""How far the search goes."""


def pytest_addoption(parser):
    parser.addoption("--model-epochs", type=int, default=3, help="highest epoch of a record")
    parser.addoption("--model-schedules", type=int, default=800, help="of copies, at random")
    parser.addoption("--model-seed", type=int, default=1, help="of those schedules")
    parser.addoption("--model-writes", type=int, default=2, help="client writes outstanding")
