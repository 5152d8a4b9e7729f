<?php
// GET /health: 200 if this web VM can serve a user, else 503; a JSON list says what fails.
require __DIR__ . '/checks.php';

$cfg = settings();
if ($cfg) {
    $started = microtime(true);
    $probe = start_probe();
    $findings = [
        check_release(),
        ...check_database($cfg),
        check_moodledata($probe, $cfg->dataroot, $started),
    ];
} else {
    $findings = [finding('settings', false, 'there is no config.php yet')];
}
$healthy = !in_array(false, array_column($findings, 'ok'), true);
http_response_code($healthy ? 200 : 503);
header('Content-Type: application/json');
header('Cache-Control: no-store');
echo json_encode($findings, JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
