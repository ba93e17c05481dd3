/** Black on white whatever the terminal's colours are: cameras want it so. */
const BLACK_ON_WHITE = '\u001b[30;107m';
const RESET = '\u001b[0m';
/** ISO/IEC 18004, 6.3.8: four modules of white around it. */
const QUIET_ZONE = 4;
const HALVES = { '00': ' ', '10': '▀', '01': '▄', '11': '█' } as const;

/** A QR code for a terminal, two modules a character. */
export async function qrCode(text: string): Promise<string[]> {
  // Loaded when it is wanted: few commands draw one.
  const { encode } = await import('uqr');
  const { data } = encode(text, { ecc: 'L', border: QUIET_ZONE });
  const lines: string[] = [];
  for (let y = 0; y < data.length; y += 2) {
    const line = data[y]!.map((upper, x) => HALVES[`${upper ? 1 : 0}${data[y + 1]?.[x] ? 1 : 0}`]);
    lines.push(`${BLACK_ON_WHITE}${line.join('')}${RESET}`);
  }
  return lines;
}
