<?php
require __DIR__ . '/config.php';

$wrong = '';
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    if (log_in((string) ($_POST['user'] ?? ''), (string) ($_POST['password'] ?? ''))) {
        wants_json() ? answer_json(['ok' => true]) : redirect('/');
    }
    if (wants_json()) {
        fail(403, 'wrong name or password');
    }
    http_response_code(403);
    $wrong = '<p class="bad">Wrong name or password.</p>';
}
page('Log in', $wrong . <<<HTML
    <form class="box" method="post">
      <label>Name <input name="user" autocomplete="username" required autofocus></label>
      <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
      <button>Log in</button>
    </form>
    HTML);
