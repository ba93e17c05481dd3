import { isLoopback } from '../rpc/address';

/** What can stand in a URL at all. URL itself takes more, controls of a terminal among it. */
const TEXT = /^[\x21-\x7e]{1,2048}$/;

/**
 * Checks the name of an OpenID provider (OpenID Connect Discovery 1.0, 3): an https URL without query and fragment. http is taken for a provider on this
 * machine alone.
 * @returns the text as it is: it is compared letter by letter
 * @throws TypeError that names what was expected
 */
export function checkIssuer(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !isSafe(url) || !TEXT.test(text) || /[?#]/.test(text) || url.username !== '' || url.password !== '') {
    throw new TypeError(`expected an issuer: an https URL without query and fragment, got ${JSON.stringify(text)}`);
  }
  return text;
}

/** True of an address that a provider may name for its own: https, or http on this machine where its issuer is there too. */
export function isEndpointOf(issuer: string, text: string): boolean {
  if (!TEXT.test(text) || !URL.canParse(text)) return false;
  const url = new URL(text);
  return url.protocol === 'https:' || (isSafe(url) && isOnThisMachine(issuer));
}

/** True of an issuer on this machine, which is for trying. */
export function isOnThisMachine(issuer: string): boolean {
  return isLoopback(new URL(issuer).hostname);
}

function isSafe({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || (protocol === 'http:' && isLoopback(hostname));
}
