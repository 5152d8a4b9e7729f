<?php
// This site caches nothing; the script is there because Moodle's installation ends with it.
define('CLI_SCRIPT', true);
require __DIR__ . '/../../config.php';
