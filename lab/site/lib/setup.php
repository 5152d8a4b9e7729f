<?php
// Loaded at the end of config.php, as in Moodle. $CFG is what the cluster's states generated.
$CFG->dirroot = dirname(__DIR__);
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
require_once __DIR__ . '/database.php';
require_once __DIR__ . '/session.php';
require_once __DIR__ . '/records.php';
require_once __DIR__ . '/page.php';

if (PHP_SAPI !== 'cli') {
    set_exception_handler(function (Throwable $error) {
        error_log((string) $error);
        // Nothing was acknowledged: whoever asked may ask again.
        fail(503, 'The site cannot answer just now: ' . get_class($error));
    });
}
