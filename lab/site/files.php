<?php
// GET client -> [{"number": 1, "name": "...", "sha256": "...", "size": 10}, ...], read from the disk
define('API', true);
require __DIR__ . '/config.php';

require_login();
answer_json(files(client_name()));
