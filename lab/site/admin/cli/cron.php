<?php
// Every minute: forgets sessions that are over.
define('CLI_SCRIPT', true);
require __DIR__ . '/../../config.php';

query('DELETE FROM {sessions} WHERE timecreated < ?', [time() - LIFETIME]);
query("REPLACE INTO {config} (name, value) VALUES ('lastcron', ?)", [(string) time()]);
