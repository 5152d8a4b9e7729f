<?php
// Installs the site into an empty database; the same options as Moodle's own script.
define('CLI_SCRIPT', true);
require __DIR__ . '/../../config.php';
require __DIR__ . '/../../lib/cli.php';

const TABLES = [
    'config' => 'name VARCHAR(100) PRIMARY KEY, value LONGTEXT NOT NULL',
    'user' => 'id BIGINT AUTO_INCREMENT PRIMARY KEY, username VARCHAR(100) NOT NULL UNIQUE,'
        . ' password VARCHAR(255) NOT NULL, email VARCHAR(100) NOT NULL',
    'sessions' => 'sid CHAR(64) PRIMARY KEY, userid BIGINT NOT NULL, timecreated BIGINT NOT NULL,'
        . ' KEY (timecreated)',
    'answers' => 'id BIGINT AUTO_INCREMENT PRIMARY KEY, client VARCHAR(64) NOT NULL,'
        . ' number BIGINT NOT NULL, text TEXT NOT NULL, userid BIGINT NOT NULL,'
        . ' timecreated BIGINT NOT NULL, UNIQUE (client, number)',
    'files' => 'id BIGINT AUTO_INCREMENT PRIMARY KEY, client VARCHAR(64) NOT NULL,'
        . ' number BIGINT NOT NULL, name VARCHAR(200) NOT NULL, sha256 CHAR(64) NOT NULL,'
        . ' size BIGINT NOT NULL, userid BIGINT NOT NULL, timecreated BIGINT NOT NULL,'
        . ' UNIQUE (client, number)',
];
const STUDENTS = 20;   // student1 ... student20, password "student": this site is for the lab only

$options = options([
    'agree-license' => false, 'lang' => 'en', 'adminuser' => 'admin', 'adminpass' => '',
    'adminemail' => '', 'fullname' => '', 'shortname' => '',
]);
if (!$options['agree-license']) {
    stop('you have to agree to the license');
}
if ($options['adminpass'] === '' || $options['adminpass'] === true) {
    stop('you have to give the administrator a password');
}
$tables = rows('SELECT table_name FROM information_schema.tables'
    . ' WHERE table_schema = DATABASE() AND table_name LIKE ?', [addcslashes($CFG->prefix, '_%') . '%']);
if ($tables) {
    stop('there are tables already: the site is installed, or was not installed to the end');
}
foreach (TABLES as $name => $columns) {
    query("CREATE TABLE {{$name}} ($columns) ENGINE=InnoDB CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci");
}
require __DIR__ . '/../../version.php';
$hash = password_hash('student', PASSWORD_DEFAULT);
$accounts = [[$options['adminuser'], password_hash($options['adminpass'], PASSWORD_DEFAULT)]];
for ($number = 1; $number <= STUDENTS; $number++) {
    $accounts[] = ["student$number", $hash];
}
foreach ($accounts as [$username, $password]) {
    query('INSERT INTO {user} (username, password, email) VALUES (?, ?, ?)',
        [$username, $password, $options['adminemail']]);
}
// As in Moodle, the last row says that the installation came to its end.
$settings = ['version' => $version, 'fullname' => $options['fullname'],
    'shortname' => $options['shortname'], 'rolesactive' => 1];
foreach ($settings as $name => $value) {
    query('INSERT INTO {config} (name, value) VALUES (?, ?)', [$name, (string) $value]);
}
echo "installed\n";
