<?php
// GET /health/alive: Apache and the PHP that serves the site answer. Nothing behind them is asked,
// so that a database or a file server that moves makes no web VM look dead.
header('Content-Type: text/plain');
header('Cache-Control: no-store');
echo "alive\n";
