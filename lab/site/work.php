<?php
require __DIR__ . '/config.php';

$me = require_login();
$client = $me['username'];
if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $file = $_FILES['file'] ?? null;
    if (!$file || $file['error'] !== UPLOAD_ERR_OK) {
        fail(400, 'The file did not arrive.');
    }
    $last = row('SELECT COALESCE(MAX(number), 0) AS number FROM {files} WHERE client = ?', [$client]);
    save_upload($client, $last['number'] + 1, $file, '');
    redirect('/work.php');
}
$list = '';
foreach (files($client) as $file) {
    $list .= "<tr><td>{$file['number']}</td><td>" . h($file['name']) . '</td><td>'
        . ($file['sha256'] === null ? '<span class="bad">missing</span>'
            : number_format($file['size']) . '</td><td><code>' . substr($file['sha256'], 0, 16) . '</code>')
        . '</td></tr>';
}
page('Your work', <<<HTML
    <form class="box" method="post" enctype="multipart/form-data">
      <label>File <input type="file" name="file" required></label>
      <button>Hand in</button>
    </form>
    <table><thead><tr><th>#</th><th>Name</th><th>Bytes</th><th>SHA-256</th></tr></thead>
    <tbody>$list</tbody></table>
    HTML);
