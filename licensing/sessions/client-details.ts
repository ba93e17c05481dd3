/** Where a client says and seems to be. */
export interface ClientDetails {
  /** Its own word: see `clientNameOf`. */
  name: string;
  /** As the service sees it. */
  address: string;
}

/** What a client says its machine is called, made fit to be shown in a list. */
export function clientNameOf(text: string): string {
  return text
    .normalize('NFC')
    .replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '')
    .trim()
    .slice(0, 64);
}
