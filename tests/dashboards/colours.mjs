// How far apart two colours are (CIE 1976 ΔE), as people with and without colour blindness see
// them. The matrices are those of Machado, Oliveira and Fernandes (2009), severity 1.
const SEEN = {
  'full colour vision': [1, 0, 0, 0, 1, 0, 0, 0, 1],
  protanopia: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deuteranopia: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
  tritanopia: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039],
};
const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const channels = (hex) => [1, 3, 5].map((i) => linear(parseInt(hex.slice(i, i + 2), 16) / 255));
const times = (m, [a, b, c]) => [0, 3, 6].map((i) => Math.min(1, Math.max(0, m[i] * a + m[i + 1] * b + m[i + 2] * c)));

function lab([r, g, b]) {
  const f = (t) => (t > 216 / 24389 ? Math.cbrt(t) : (24389 / 27 / 116) * t + 16 / 116);
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

/** The two most similar colours of a list: {distance, pair, seen}. */
export function nearest(colours) {
  let found = { distance: Infinity };
  for (const [seen, matrix] of Object.entries(SEEN)) {
    const labs = colours.map((colour) => lab(times(matrix, channels(colour))));
    labs.forEach((a, i) =>
      labs.slice(0, i).forEach((b, j) => {
        const distance = Math.hypot(...a.map((v, k) => v - b[k]));
        if (distance < found.distance) {
          found = { distance, pair: [colours[j], colours[i]], seen };
        }
      }),
    );
  }
  return found;
}
