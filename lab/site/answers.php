<?php
// GET client -> [{"id": 7, "number": 1, "text": "..."}, ...]
define('API', true);
require __DIR__ . '/config.php';

require_login();
answer_json(answers(client_name()));
