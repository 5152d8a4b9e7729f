<?php
// What goes back to the browser or to the outside client.

function wants_json(): bool {
    return defined('API') || str_contains($_SERVER['HTTP_ACCEPT'] ?? '', 'application/json');
}

function answer_json(array $answer, int $code = 200): never {
    http_response_code($code);
    header('Content-Type: application/json');
    echo json_encode($answer, JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
    exit;
}

function fail(int $code, string $why): never {
    if (wants_json()) {
        answer_json(['ok' => false, 'error' => $why], $code);
    }
    http_response_code($code);
    page('Sorry', '<p class="bad">' . h($why) . '</p><p><a href="/">Back to the course</a></p>', false);
}

function redirect(string $to): never {
    header("Location: $to", true, 303);
    exit;
}

function h(mixed $text): string {
    return htmlspecialchars((string) $text, ENT_QUOTES | ENT_SUBSTITUTE);
}

/** Send a page; $user false where the database may be the very thing that fails. */
function page(string $title, string $body, bool $user = true): never {
    $name = $user ? user()['username'] ?? null : null;
    $menu = $name === null ? '<a href="/login.php">Log in</a>'
        : '<span>' . h($name) . '</span><form method="post" action="/logout.php"><button>Log out</button></form>';
    header('Content-Type: text/html; charset=utf-8');
    echo '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<title>', h($title), '</title><link rel="stylesheet" href="/style.css"></head><body>',
        '<header><a class="brand" href="/">Course</a><nav><a href="/quiz.php">Quiz</a>',
        '<a href="/work.php">Your work</a></nav><div class="who">', $menu, '</div></header>',
        '<main><h1>', h($title), '</h1>', $body, '</main>',
        '<footer>Answered by ', h(gethostname()), '</footer></body></html>';
    exit;
}
