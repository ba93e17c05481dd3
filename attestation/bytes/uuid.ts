const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** True of a UUID in lower case (RFC 9562, 4), of whichever version: the one spelling that ids have here. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}
