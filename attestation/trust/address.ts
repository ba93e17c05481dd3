/** The forms of an address, for messages. */
export const ADDRESS_RULE = 'unix:/PATH, http://HOST:PORT or https://HOST:PORT';

/** Whether the text says where a service is reached: the forms that clients dial (runtime/rpc/address.ts), a URL without a path or an absolute socket path. */
export function isAddress(text: string): boolean {
  if (text.startsWith('unix:')) return text.startsWith('unix:/');
  if (!URL.canParse(text)) return false;
  const { protocol, pathname } = new URL(text);
  // Without a path a URL of these has this one.
  return (protocol === 'http:' || protocol === 'https:') && pathname === '/';
}
