<?php
// What students leave behind. Every record has the client's name and number: sent twice, it is
// stored once.

function client_name(): string {
    $client = $_REQUEST['client'] ?? user()['username'] ?? '';
    return is_string($client) && preg_match('/^[A-Za-z0-9_.-]{1,64}$/', $client)
        ? $client : fail(400, 'client: 1 to 64 letters, digits, . _ -');
}

function record_number(): int {
    return filter_var($_POST['number'] ?? null, FILTER_VALIDATE_INT,
        ['options' => ['min_range' => 0], 'flags' => FILTER_NULL_ON_FAILURE]) ?? fail(400, 'number: a whole number');
}

/** Store an answer; when this returns, it is committed. */
function save_answer(string $client, int $number, string $text): array {
    $new = insert_once(
        'INSERT INTO {answers} (client, number, text, userid, timecreated) VALUES (?, ?, ?, ?, ?)',
        [$client, $number, $text, user()['id'], time()]
    );
    $found = row('SELECT id, text FROM {answers} WHERE client = ? AND number = ?', [$client, $number]);
    if ($found['text'] !== $text) {
        fail(409, "number $number holds another answer");
    }
    return ['ok' => true, 'id' => (int) $found['id']] + ($new ? [] : ['duplicate' => true]);
}

function answers(string $client): array {
    return rows('SELECT id, number, text FROM {answers} WHERE client = ? ORDER BY number', [$client]);
}

/** Where an upload lies in moodledata, shared by all web servers. */
function upload_path(string $client, int $number): string {
    global $CFG;
    return "{$CFG->dataroot}/uploads/{$client}/{$number}";
}

/** Write a file so that it is on the file server's disk before it has its name. */
function write_durably(string $from, string $path): void {
    if (!is_dir(dirname($path)) && !@mkdir(dirname($path), 02770, true) && !is_dir(dirname($path))) {
        throw new RuntimeException('cannot make ' . dirname($path));
    }
    $part = $path . '.' . bin2hex(random_bytes(4));
    $source = fopen($from, 'rb');
    $target = fopen($part, 'xb');
    if (!$source || !$target || stream_copy_to_stream($source, $target) !== filesize($from)
            || !fsync($target) || !fclose($target) || !rename($part, $path)) {
        throw new RuntimeException("cannot write $path");
    }
}

/** Store an upload: first the file, then the row that says it is there. */
function save_upload(string $client, int $number, array $file, string $expected): array {
    $sha256 = hash_file('sha256', $file['tmp_name']);
    if ($expected !== '' && !hash_equals(strtolower($expected), $sha256)) {
        fail(400, "the file arrived as sha256 $sha256");
    }
    $known = row('SELECT sha256 FROM {files} WHERE client = ? AND number = ?', [$client, $number]);
    if ($known && $known['sha256'] !== $sha256) {
        fail(409, "number $number holds another file");
    }
    if (!$known) {
        write_durably($file['tmp_name'], upload_path($client, $number));
    }
    $new = !$known && insert_once(
        'INSERT INTO {files} (client, number, name, sha256, size, userid, timecreated)'
        . ' VALUES (?, ?, ?, ?, ?, ?, ?)',
        [$client, $number, mb_substr(basename($file['name']), 0, 200), $sha256,
            $file['size'], user()['id'], time()]
    );
    return ['ok' => true, 'sha256' => $sha256] + ($new ? [] : ['duplicate' => true]);
}

/** The uploads as the disk holds them: checksum and size are read, not remembered. */
function files(string $client): array {
    $found = rows('SELECT number, name FROM {files} WHERE client = ? ORDER BY number', [$client]);
    return array_map(function (array $file) use ($client) {
        $path = upload_path($client, $file['number']);
        $there = is_file($path);
        return $file + [
            'sha256' => $there ? hash_file('sha256', $path) : null,
            'size' => $there ? filesize($path) : null,
        ];
    }, $found);
}
