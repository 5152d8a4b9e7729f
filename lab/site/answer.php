<?php
// POST client, number, text -> {"ok": true, "id": 7}, sent after the commit.
define('API', true);
require __DIR__ . '/config.php';

require_login();
$text = $_POST['text'] ?? null;
if (!is_string($text) || strlen($text) > 65000) {
    fail(400, 'text: up to 65000 bytes');
}
answer_json(save_answer(client_name(), record_number(), $text));
