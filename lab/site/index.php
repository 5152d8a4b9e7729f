<?php
require __DIR__ . '/config.php';

$title = row("SELECT value FROM {config} WHERE name = 'fullname'")['value'] ?? 'Course';
page($title, <<<HTML
    <p class="lead">A small course that stands where Moodle will be: it uses the same web servers,
    the same database and the same file server.</p>
    <div class="cards">
      <a class="card" href="/quiz.php"><h2>Quiz</h2><p>Five questions. Every answer is a row in the
        database before you see the next page.</p></a>
      <a class="card" href="/work.php"><h2>Your work</h2><p>Hand in a file. It lies on both file
        servers before you are told so.</p></a>
    </div>
    HTML);
