// A recording's waveform, with the passages of speech marked.

export async function decode(blob) {
  const context = new OfflineAudioContext(1, 1, 16_000);
  const buffer = await context.decodeAudioData(await blob.arrayBuffer());
  return { samples: buffer.getChannelData(0), seconds: buffer.duration };
}

export function draw(canvas, { samples, seconds }, passages = []) {
  const paint = canvas.getContext("2d");
  const style = getComputedStyle(canvas);
  const { width, height } = canvas;
  paint.clearRect(0, 0, width, height);
  paint.fillStyle = style.getPropertyValue("--accent");
  paint.globalAlpha = 0.22;
  for (const { start_s, end_s } of passages) {
    paint.fillRect((start_s / seconds) * width, 0, ((end_s - start_s) / seconds) * width, height);
  }
  paint.globalAlpha = 1;
  paint.fillStyle = style.getPropertyValue("--text");
  const step = samples.length / width;
  for (let x = 0; x < width; x += 1) {
    let most = 0;
    for (let at = Math.floor(x * step); at < (x + 1) * step; at += 1) {
      most = Math.max(most, Math.abs(samples[at] ?? 0));
    }
    const half = Math.max(1, (most * height) / 2);
    paint.fillRect(x, height / 2 - half, 1, 2 * half);
  }
}
