<?php
// One connection per request, every statement its own durable transaction.

function db(): mysqli {
    global $CFG;
    static $connection = null;
    if (!$connection) {
        $connection = mysqli_init();
        $connection->options(MYSQLI_OPT_CONNECT_TIMEOUT, $CFG->dboptions['connecttimeout'] ?? 5);
        // A request must not wait for ever on a primary that died without a word.
        $connection->options(MYSQLI_OPT_READ_TIMEOUT, 15);
        $connection->real_connect(
            $CFG->dbhost, $CFG->dbuser, $CFG->dbpass, $CFG->dbname, $CFG->dboptions['dbport'] ?? 3306
        );
        $connection->set_charset('utf8mb4');
    }
    return $connection;
}

/** Run a statement; {name} is a table of the site. */
function query(string $sql, array $values = []): mysqli_result|bool {
    global $CFG;
    $result = db()->execute_query(preg_replace('/\{(\w+)\}/', $CFG->prefix . '$1', $sql), $values);
    if ($result === false) {   // a connection that dies meanwhile raises nothing
        throw new RuntimeException('the database did not answer: ' . db()->error);
    }
    return $result;
}

function row(string $sql, array $values = []): ?array {
    return query($sql, $values)->fetch_assoc() ?: null;
}

function rows(string $sql, array $values = []): array {
    return query($sql, $values)->fetch_all(MYSQLI_ASSOC);
}

/** True if a row was added, false if one with the same unique key is there already. */
function insert_once(string $sql, array $values): bool {
    try {
        query($sql, $values);
        return true;
    } catch (mysqli_sql_exception $error) {
        if ($error->getCode() === 1062) {   // duplicate entry
            return false;
        }
        throw $error;
    }
}
