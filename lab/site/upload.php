<?php
// POST client, number, file, sha256 -> {"ok": true, "sha256": "..."}, sent after fsync and commit.
define('API', true);
require __DIR__ . '/config.php';

require_login();
$file = $_FILES['file'] ?? null;
if (!$file || $file['error'] !== UPLOAD_ERR_OK) {
    fail(400, 'file: not received, code ' . ($file['error'] ?? 'none'));
}
answer_json(save_upload(client_name(), record_number(), $file, (string) ($_POST['sha256'] ?? '')));
