import { ChannelCredentials } from '@grpc/grpc-js';

/** Where a server listens or is reached: unix:/PATH, http://HOST:PORT (h2c) or https://HOST:PORT. */
export type Address = { scheme: 'unix'; path: string } | { scheme: 'http' | 'https'; host: string; port: number };

/** Where a server listens: an address, or a socket that whoever started it has opened, listens and passed on (fd:NUMBER), as where there is no network. */
export type ListenAddress = Address | { scheme: 'fd'; fd: number };

/** Reads where to listen. @throws TypeError as `parseAddress` */
export function parseListenAddress(text: string): ListenAddress {
  const [, fd] = /^fd:(\d{1,4})$/.exec(text) ?? [];
  return fd === undefined ? parseAddress(text) : { scheme: 'fd', fd: Number(fd) };
}

/** Reads an address. @throws TypeError that names what was expected. */
export function parseAddress(text: string): Address {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    if (!path.startsWith('/')) throw new TypeError(`expected unix:/ABSOLUTE/PATH, got ${JSON.stringify(text)}`);
    return { scheme: 'unix', path };
  }
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new TypeError(`expected unix:/PATH, http://HOST:PORT or https://HOST:PORT, got ${JSON.stringify(text)}`, {
      cause,
    });
  }
  const scheme = url.protocol.slice(0, -1);
  if ((scheme !== 'http' && scheme !== 'https') || (url.pathname !== '/' && url.pathname !== '')) {
    throw new TypeError(`expected unix:/PATH, http://HOST:PORT or https://HOST:PORT, got ${JSON.stringify(text)}`);
  }
  return { scheme, host: url.hostname, port: portOf(url) };
}

/** Of an http or https URL, which leaves its scheme's own port out. */
export function portOf({ protocol, port }: URL): number {
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
}

/** The form that grpc-js takes: unix:/PATH or HOST:PORT. */
export function grpcTarget(address: Address): string {
  return address.scheme === 'unix' ? `unix:${address.path}` : `${address.host}:${address.port}`;
}

/** Credentials for a channel to the address. `roots` (PEM) replaces the system's CAs for https. */
export function channelCredentials(address: Address, roots?: Buffer): ChannelCredentials {
  return address.scheme === 'https' ? ChannelCredentials.createSsl(roots ?? null) : ChannelCredentials.createInsecure();
}

/** True of a host, as URLs write it, that never leaves this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host);
}
