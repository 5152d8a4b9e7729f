<?php
require __DIR__ . '/config.php';

const QUESTIONS = [
    1 => 'Two servers lose sight of each other. Why must not both go on writing?',
    2 => 'What does a database primary wait for before it says that a row is saved?',
    3 => 'A disk is mirrored over the network and the mirror dies. What may happen to the next write?',
    4 => 'Why does a moved network address have to announce itself?',
    5 => 'What would you look at first if this page were slow?',
];
$me = require_login();
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    save_answer($me['username'], record_number(), trim((string) ($_POST['text'] ?? '')));
    redirect('/quiz.php');
}
$given = array_column(answers($me['username']), 'text', 'number');
$body = '';
foreach (QUESTIONS as $number => $question) {
    $body .= "<section class=\"box\"><h2>$number. " . h($question) . '</h2>';
    $body .= isset($given[$number])
        ? '<p class="good">' . nl2br(h($given[$number])) . '</p></section>'
        : "<form method=\"post\"><input type=\"hidden\" name=\"number\" value=\"$number\">"
            . '<textarea name="text" rows="3" required maxlength="5000"></textarea>'
            . '<button>Save the answer</button></form></section>';
}
page('Quiz', $body);
