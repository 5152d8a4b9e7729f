<?php
// What a user needs of this web VM, check by check. Every check is bounded in time: a page that
// hangs says less than one that answers 503. Nothing here loads Moodle, so it works before there
// is one, and nothing it returns holds a secret.

const SITE = '/srv/moodle';
// Seconds a dependency may take. Errs on the side of failing: the caller asks again at once.
const PATIENCE = 1;

/** The settings of the site, without the site; null while there are none. */
function settings(): ?stdClass {
    global $CFG;
    if (!is_readable(SITE . '/config.php')) {
        return null;
    }
    require SITE . '/config.php';
    return $CFG;
}

/** A connection with the site's own account. Throws mysqli_sql_exception. */
function database(stdClass $cfg): mysqli {
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $connection = mysqli_init();
    $connection->options(MYSQLI_OPT_CONNECT_TIMEOUT, PATIENCE);
    $connection->options(MYSQLI_OPT_READ_TIMEOUT, PATIENCE);
    $connection->real_connect($cfg->dbhost, $cfg->dbuser, $cfg->dbpass, $cfg->dbname);
    return $connection;
}

/** How far the site is in the database: empty, partial or installed, with version and tables. */
function installation(mysqli $connection, string $prefix): array {
    $pattern = addcslashes($prefix, '_%\\') . '%';
    $query = 'SELECT COUNT(*) FROM information_schema.tables'
        . ' WHERE table_schema = DATABASE() AND table_name LIKE ?';
    $tables = (int) $connection->execute_query($query, [$pattern])->fetch_column();
    $found = ['state' => $tables ? 'partial' : 'empty', 'version' => null, 'tables' => $tables];
    try {
        $rows = $connection->query(
            "SELECT name, value FROM {$prefix}config WHERE name IN ('version', 'rolesactive')"
        )->fetch_all();
    } catch (mysqli_sql_exception $error) {
        if ($error->getCode() === 1146) {   // no such table
            return $found;
        }
        throw $error;
    }
    $values = array_column($rows, 1, 0);
    if (!empty($values['rolesactive'])) {   // the last thing that Moodle's installer sets
        $found['state'] = 'installed';
        $found['version'] = $values['version'] ?? null;
    }
    return $found;
}

function finding(string $check, bool $ok, string $detail): array {
    return ['check' => $check, 'ok' => $ok, 'detail' => $detail];
}

/** The database through the floating address: it answers, it takes writes, the site is in it. */
function check_database(stdClass $cfg): array {
    try {
        $connection = database($cfg);
        $readonly = (bool) $connection->query('SELECT @@GLOBAL.read_only')->fetch_column();
        $found = installation($connection, $cfg->prefix);
    } catch (mysqli_sql_exception $error) {
        return [finding('database', false, "{$cfg->dbhost}: {$error->getMessage()}")];
    }
    return [
        finding('database', !$readonly, $cfg->dbhost . ($readonly ? ': read only' : ': writable')),
        finding('site', $found['state'] === 'installed', trim("{$found['state']} {$found['version']}")),
    ];
}

/** The release that serves is the one that was last deployed whole. */
function check_release(): array {
    clearstatcache(true);
    $serving = is_dir(SITE . '/current/admin') ? basename((string) readlink(SITE . '/current')) : '';
    $expected = trim((string) @file_get_contents(SITE . '/expected'));
    return finding(
        'release',
        $serving !== '' && $serving === $expected,
        $serving === $expected ? ($serving ?: 'none') : "serves '$serving', expected '$expected'"
    );
}

/** The type of what is mounted at a place, from the kernel's table: never waits for a server. */
function mounted(string $place): string {
    $type = '';
    foreach (file('/proc/self/mounts') as $line) {
        $entry = explode(' ', $line);
        if ($entry[1] === $place) {
            $type = $entry[2];   // the topmost comes last
        }
    }
    return $type;
}

/** Ask probe.php, in a process of its own, to use moodledata; returns the connection. */
function start_probe() {
    $socket = @stream_socket_client('tcp://127.0.0.1:80', $code, $message, PATIENCE);
    if ($socket) {
        fwrite($socket, "GET /health/moodledata HTTP/1.0\r\nHost: localhost\r\n\r\n");
    }
    return $socket;
}

/** What probe.php found, if it answers in time: a hard NFS mount waits for its server for ever. */
function check_moodledata($socket, string $place, float $since): array {
    if (mounted($place) === '') {
        return finding('moodledata', false, "$place: not mounted");
    }
    if (!$socket) {
        return finding('moodledata', false, "$place: cannot be probed");
    }
    // The probe has run since then, while the database was asked: the times do not add up.
    $left = max(0.1, PATIENCE - (microtime(true) - $since));
    stream_set_timeout($socket, (int) $left, (int) (fmod($left, 1) * 1e6));
    $answer = (string) stream_get_contents($socket);
    $detail = trim((string) strstr($answer, "\r\n\r\n"));
    if (stream_get_meta_data($socket)['timed_out'] || $answer === '') {
        $detail = 'no answer within ' . PATIENCE . ' s';
    }
    // The probe was the first access of an automount, so only now the type is the final one.
    $type = mounted($place);
    $nfs = str_starts_with($type, 'nfs');
    return finding('moodledata', $nfs && $detail === 'writable', "$place: $type, $detail");
}
