"""
Settings that follow from a VM's size. Pure; sizes in MB are binary (MiB).

``tuning`` takes what ``topology.vms`` returns. Sources stand beside each formula; where a VM is
smaller than a source thinks of, the small number is ours and says so.
"""

MB = 2**20
# Resident without a service: kernel, systemd, journald, ssh (100), a Salt minion (156, measured).
SYSTEM_MB = 256
# One PHP process of Moodle. https://docs.moodle.org/en/Performance_recommendations: (memory x 80 %)
# / (largest process); 64 MB is a usual one, memory_limit the exception.
PHP_CHILD_MB = 64


def tuning(vms, name):
    """Return the settings of VM ``name`` by its role; ``vms`` as ``topology.vms`` returns them."""
    vm = next(one for one in vms if one["name"] == name)
    memory, vcpus = vm["size"]["memory"] // MB, vm["size"]["vcpus"]
    if vm["role"] == "web":
        return _web(memory)
    if vm["role"] == "database":
        return _database(memory, vcpus, [one for one in vms if one["role"] == "web"])
    if vm["role"] == "file":
        return _file(vcpus, sum(one["role"] == "web" for one in vms))
    return _balancer(memory) if vm["role"] == "balancer" else {}


def _web(memory):
    """
    PHP-FPM, OPcache, Apache.

    php_children (pm.max_children): 80 % of what is left / PHP_CHILD_MB, by Moodle's formula above,
    at least 4 so that one slow page does not stop a small VM.
    php_memory_limit_mb: Moodle asks for 96 MB at least; 256 where a VM has 2 GB.
    opcache_mb: Moodle's documentation recommends opcache.memory_consumption 128.
    apache_workers (MaxRequestWorkers, event): each PHP child keeps three more connections waiting
    or transferring, in whole processes of ThreadsPerChild 25, whose threads are cheap.
    https://httpd.apache.org/docs/2.4/mod/event.html
    """
    opcache = 128 if memory >= 1024 else 64
    children = max(4, int((memory - SYSTEM_MB - opcache) * 0.8) // PHP_CHILD_MB)
    return {
        "php_children": children,
        "php_memory_limit_mb": 256 if memory >= 2048 else 128,
        "opcache_mb": opcache,
        "apache_workers": -(-4 * children // 25) * 25,
    }


def _database(memory, vcpus, webs):
    """
    MySQL and MariaDB.

    buffer_pool_mb: innodb_dedicated_server's: half the memory up to 4 GB, three quarters above;
    below 1 GB its 128 MB, and ours below 768 MB: a sixth.
    redo_log_mb: innodb_dedicated_server's: a GB for every two processors, 16 at most; ours: never
    more than the buffer pool, or a small disk fills for nothing.
    https://dev.mysql.com/doc/refman/8.4/en/innodb-dedicated-server.html
    max_connections: one for each PHP child and each web VM's cron, and 20 for replication, an
    administrator and whoever tests. Each costs memory when used, none when not.
    performance_schema: off below 2 GB, it takes up to 200 MB.
    """
    pool = memory * 3 // 4 if memory > 4096 else memory // 2
    if memory < 1024:
        pool = min(128, memory // 6 // 16 * 16)
    children = sum(_web(one["size"]["memory"] // MB)["php_children"] for one in webs)
    return {
        "buffer_pool_mb": pool,
        "redo_log_mb": max(32, min(512 * vcpus, 16384, pool)),
        "max_connections": children + len(webs) + 20,
        "performance_schema": memory >= 2048,
    }


def _file(vcpus, webs):
    """
    NFS server.

    nfs_threads: the kernel's own default of 8 for each processor (nfs.conf(5)), and 8 more for
    each client, because a thread waits while DRBD writes on the other server.
    """
    return {"nfs_threads": 8 * vcpus + 8 * webs}


def _balancer(memory):
    """
    IPVS.

    conn_tab_bits: hash slots for the connections that 1/16 of the memory can hold at 128 bytes
    each, within what the module takes (8 to 20); its default is 12. See IP_VS_TAB_BITS in
    net/netfilter/ipvs/Kconfig: not far fewer slots than connections.
    """
    entries = memory * MB // 16 // 128
    return {"conn_tab_bits": min(20, max(12, entries.bit_length() - 1))}
