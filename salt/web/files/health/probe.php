<?php
// Write, read and remove a file of this VM in moodledata. May hang as long as the file server
// does: it runs in a pool of its own, with few processes and a short life.
require __DIR__ . '/checks.php';

function probe(string $place): string {
    // Both balancers ask. Side by side, one would find and remove what the other wrote.
    $turn = fopen(__FILE__, 'r');
    flock($turn, LOCK_EX);
    $file = $place . '/.health-' . gethostname();
    $word = bin2hex(random_bytes(8));
    $stream = @fopen($file, 'w');
    if (!$stream || !fwrite($stream, $word) || !fsync($stream) || !fclose($stream)) {
        return 'not writable: ' . (error_get_last()['message'] ?? 'unknown');
    }
    if (@file_get_contents($file) !== $word) {
        return 'what was written cannot be read';
    }
    return @unlink($file) ? 'writable' : 'not writable: a file cannot be removed';
}

header('Content-Type: text/plain');
echo probe(settings()->dataroot);
