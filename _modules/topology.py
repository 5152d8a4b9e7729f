"""
This VM's view of the cluster, for SLS files and the command line.

Thin wrappers over ``_utils/topology.py`` and ``_utils/tuning.py``: the pillar's ``cluster`` and
this minion's id are filled in. None of these functions reads anything but the pillar.
"""


def _cluster():
    # __pillar__, because __salt__["pillar.get"] returns masked values inside modules.
    return __pillar__["cluster"]


def _ask(function, *args):
    return __utils__[function](_cluster(), *args)


def me():
    """
    Return this VM: name, role, server, addresses, interfaces, size (bytes).

    CLI Example:

    .. code-block:: bash

        salt web1 topology.me
    """
    return _ask("topology.vm", __grains__["id"])


def vms(role=None):
    """
    Return every VM of the cluster in pillar order, or those of one role.

    CLI Example:

    .. code-block:: bash

        salt lb1 topology.vms web
    """
    return _ask("topology.vms", role)


def peer():
    """
    Return the other VM of this VM's pair, or None where there is no pair.

    CLI Example:

    .. code-block:: bash

        salt db1 topology.peer
    """
    return _ask("topology.peer", __grains__["id"])


def founder(role):
    """
    Return the name of the VM that holds the role's resource at the very first bring-up.

    CLI Example:

    .. code-block:: bash

        salt file1 topology.founder file
    """
    return _ask("topology.founder", role)


def floating(resource):
    """
    Return address, prefix and interface of what moves with ``director``, ``files`` or ``database``.

    CLI Example:

    .. code-block:: bash

        salt lb1 topology.floating director
    """
    return _ask("topology.floating", __grains__["id"], resource)


def networks():
    """
    Return this VM's networks: interface, own address (None on public), prefix, subnet, gateway.

    CLI Example:

    .. code-block:: bash

        salt lb1 topology.networks
    """
    return _ask("topology.networks_of", __grains__["id"])


def hosts():
    """
    Return the addresses and names every VM knows through /etc/hosts.

    CLI Example:

    .. code-block:: bash

        salt web1 topology.hosts
    """
    return _ask("topology.hosts")


def traffic_address(kind, name=None):
    """
    Return the address that carries ``drbd`` or ``replication`` on this VM, or on VM ``name``.

    CLI Example:

    .. code-block:: bash

        salt file1 topology.traffic_address drbd
    """
    return _ask("topology.traffic_address", name or __grains__["id"], kind)


def masters():
    """
    Return the internal addresses of the Salt masters.

    CLI Example:

    .. code-block:: bash

        salt web1 topology.masters
    """
    return _ask("topology.masters")


def arbiter_members():
    """
    Return name and address of each member of the arbiter; empty without one.

    CLI Example:

    .. code-block:: bash

        salt lb1 topology.arbiter_members
    """
    return _ask("topology.arbiter_members")


def tuning():
    """
    Return the settings that follow from this VM's size; formulas in ``_utils/tuning.py``.

    CLI Example:

    .. code-block:: bash

        salt web1 topology.tuning
    """
    return __utils__["tuning.tuning"](vms(), __grains__["id"])


def minion_config():
    """
    Return the text of minion.d/cluster.conf for this VM.

    CLI Example:

    .. code-block:: bash

        salt web1 topology.minion_config
    """
    return __utils__["topology.dump"](_ask("topology.minion_config", __grains__["id"]))


def master_config():
    """
    Return the text of master.d/cluster.conf for this balancer.

    CLI Example:

    .. code-block:: bash

        salt lb1 topology.master_config
    """
    return __utils__["topology.dump"](_ask("topology.master_config", __grains__["id"]))
