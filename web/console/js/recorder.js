// Records from the microphone: a file at the end, the loudness meanwhile.

import { by, t } from "./page.js";

const KINDS = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const PIECE_MS = 250;

// Whether a recording can be understood while it is made.
export const canStream = () => globalThis.MediaRecorder?.isTypeSupported(KINDS[0]) ?? false;

// `onPiece` gets the sound as it comes, for a live answer. Gives a function that stops and
// promises the whole.
export async function record(onPiece = () => {}) {
  let stream;
  if (!navigator.mediaDevices || !globalThis.MediaRecorder) {
    throw new Error(t("microphone", { reason: t("insecure") }));
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    throw new Error(t("microphone", { reason: error.message }));
  }
  const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
  const recorder = new MediaRecorder(stream, { mimeType });
  const pieces = [];
  recorder.addEventListener("dataavailable", ({ data }) => {
    pieces.push(data);
    onPiece(data);
  });
  const quiet = showLevel(stream);
  recorder.start(PIECE_MS);
  return () => new Promise((resolve) => {
    recorder.addEventListener("stop", () => {
      stream.getTracks().forEach((track) => track.stop());
      quiet();
      const ending = recorder.mimeType.includes("mp4") ? "m4a" : recorder.mimeType.includes("ogg") ? "ogg" : "webm";
      resolve(new File(pieces, `recording.${ending}`, { type: recorder.mimeType }));
    });
    recorder.stop();
  });
}

function showLevel(stream) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    by("level").value = Math.min(1, Math.max(0, 1 + Math.log10(power + 1e-9) / 6));
  }, 60);
  return () => {
    clearInterval(timer);
    context.close();
    by("level").value = 0;
  };
}
