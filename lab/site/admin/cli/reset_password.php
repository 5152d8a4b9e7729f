<?php
// Gives an account a new password; asks for what the options do not say.
define('CLI_SCRIPT', true);
require __DIR__ . '/../../config.php';
require __DIR__ . '/../../lib/cli.php';

$options = options(['username' => '', 'password' => '', 'ignore-password-policy' => false]);
foreach (['username', 'password'] as $name) {
    if ($options[$name] === '') {
        echo "Enter $name\n: ";
        $options[$name] = rtrim((string) fgets(STDIN), "\r\n");
    }
}
if (!row('SELECT id FROM {user} WHERE username = ?', [$options['username']])) {
    stop("there is no user '{$options['username']}'");
}
query('UPDATE {user} SET password = ? WHERE username = ?',
    [password_hash($options['password'], PASSWORD_DEFAULT), $options['username']]);
echo "Password changed\n";
