/**
 * A JWS of exactly `max` characters, and one that is longer by as little as can be.
 * @param make a JWS with so many spaces behind its payload, and with so many characters more in its header (`cty`): of base64url, some lengths are
 *   reached by one of them alone
 */
export async function longest(
  max: number,
  make: (spaces: number, header: number) => Promise<string>,
): Promise<{ longest: string; longer: string }> {
  for (let header = 1; header < 4; header++) {
    const shortest = (await make(0, header)).length;
    let spaces = Math.floor(((max - shortest) * 3) / 4) - 3;
    let text = await make(spaces, header);
    while (text.length < max) text = await make(++spaces, header);
    if (text.length === max) return { longest: text, longer: await make(spaces + 1, header) };
  }
  throw new Error(`expected a JWS of ${max} characters to be possible`);
}
