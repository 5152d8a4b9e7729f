<?php
// Sessions live in the database: any web server may answer the next request.

const COOKIE = 'CourseSession';
const LIFETIME = 7200;   // seconds

/** Return the user who is logged in (id, username), or null. */
function user(): ?array {
    static $user = false;
    if ($user === false) {
        $user = row(
            'SELECT u.id, u.username FROM {sessions} s JOIN {user} u ON u.id = s.userid'
            . ' WHERE s.sid = ? AND s.timecreated > ?',
            [hash('sha256', $_COOKIE[COOKIE] ?? ''), time() - LIFETIME]
        );
    }
    return $user;
}

function require_login(): array {
    return user() ?? (wants_json() ? fail(401, 'log in first') : redirect('/login.php'));
}

/** Log in and send the cookie; false for a wrong name or password. */
function log_in(string $username, #[SensitiveParameter] string $password): bool {
    $found = row('SELECT id, password FROM {user} WHERE username = ?', [$username]);
    // The same work for an unknown name: the time tells nothing.
    $hash = $found['password'] ?? '$2y$10$usesomesillystringfore7hnbRJHxXVLeakoG8K30oukPsA.ztMG';
    if (!password_verify($password, $hash) || !$found) {
        return false;
    }
    $sid = bin2hex(random_bytes(32));
    query('INSERT INTO {sessions} (sid, userid, timecreated) VALUES (?, ?, ?)',
        [hash('sha256', $sid), $found['id'], time()]);
    setcookie(COOKIE, $sid, ['path' => '/', 'httponly' => true, 'samesite' => 'Lax']);
    return true;
}

function log_out(): void {
    query('DELETE FROM {sessions} WHERE sid = ?', [hash('sha256', $_COOKIE[COOKIE] ?? '')]);
    setcookie(COOKIE, '', ['path' => '/', 'expires' => 1]);
}
