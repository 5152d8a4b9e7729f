<?php
// Command line: what the database holds, as JSON. With --installed: exit 0 only if the site is
// there, which is what cron asks before it starts.
require __DIR__ . '/checks.php';

if (PHP_SAPI !== 'cli') {
    http_response_code(404);
    exit;
}
try {
    $cfg = settings() ?? throw new RuntimeException('there is no ' . SITE . '/config.php yet');
    $found = installation(database($cfg), $cfg->prefix);
} catch (mysqli_sql_exception | RuntimeException $error) {
    $found = ['error' => (isset($cfg) ? "database {$cfg->dbhost}: " : '') . $error->getMessage()];
}
if (in_array('--installed', $argv, true)) {
    exit(($found['state'] ?? '') === 'installed' ? 0 : 1);
}
echo json_encode($found, JSON_INVALID_UTF8_SUBSTITUTE), "\n";
