import { BlockList, isIP, isIPv4, isIPv6 } from 'node:net';
import type { Socket } from 'node:net';
import type { Metadata } from '@grpc/grpc-js';

/** What stands for callers that have no IP address: those on a unix socket. */
const LOCAL_PEER = 'local';
/** More hops than any honest route has; what is longer is not worth parsing. */
const MAX_HOPS = 32;

/** Networks whose word about a caller's address is taken. */
export class TrustedProxies {
  static readonly none = new TrustedProxies('');

  private readonly networks = new BlockList();
  private readonly empty: boolean;

  /**
   * @param text addresses and networks in CIDR form, divided by commas or spaces: "10.0.0.0/8, ::1"
   * @throws TypeError that names what was expected
   */
  constructor(text: string) {
    const parts = text.split(/[\s,]+/).filter((part) => part !== '');
    this.empty = parts.length === 0;
    for (const part of parts) {
      const [, address = '', bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(part) ?? [];
      const version = isIP(address);
      const most = version === 4 ? 32 : 128;
      if (version === 0 || Number(bits ?? most) > most)
        throw new TypeError(`expected addresses or networks such as 10.0.0.0/8, got ${JSON.stringify(part)}`);
      this.networks.addSubnet(address, Number(bits ?? most), version === 4 ? 'ipv4' : 'ipv6');
    }
  }

  has(text: string): boolean {
    const address = unmapped(text);
    return !this.empty && isIP(address) !== 0 && this.networks.check(address, isIPv4(address) ? 'ipv4' : 'ipv6');
  }
}

/** ADDRESS:PORT, [ADDRESS]:PORT or an address alone, as an address; IPv4 inside IPv6 as IPv4. Undefined for anything else. */
function addressIn(text: string): string | undefined {
  const trimmed = text.trim();
  if (isIP(trimmed) !== 0) return unmapped(trimmed);
  const [, bracketed, plain] = /^(?:\[([0-9A-Fa-f:.]+)\](?::\d+)?|(.+):\d+)$/.exec(trimmed) ?? [];
  const address = bracketed ?? plain;
  return address !== undefined && isIP(address) !== 0 ? unmapped(address) : undefined;
}

/** As grpc-js writes it: ADDRESS:PORT, IPv6 without brackets, which only its last colon tells apart. */
export function peerAddress(peer: string): string | undefined {
  const address = peer.slice(0, Math.max(0, peer.lastIndexOf(':'))).replace(/^\[(.*)\]$/, '$1');
  return isIP(address) === 0 ? undefined : unmapped(address);
}

function unmapped(address: string): string {
  const [, v4] = /^::ffff:([\d.]+)$/i.exec(address) ?? [];
  return v4 !== undefined && isIPv4(v4) ? v4 : address.toLowerCase();
}

/** A caller's IP address, of a call: see `forwardedAddress`. */
export function callerAddress(
  { peer, metadata }: { peer: string; metadata: Metadata },
  proxies: TrustedProxies,
): string {
  return forwardedAddress(peerAddress(peer), metadata.get('x-forwarded-for').join(','), proxies);
}

/**
 * A caller's IP address: the other end of its connection. Only where that is a trusted proxy does X-Forwarded-For count, read from its right end,
 * which the nearest proxy wrote, up to the first address that is no proxy of ours: what stands left of it is the caller's own word.
 * @param peer undefined: there is none, as on a unix socket
 */
export function forwardedAddress(peer: string | undefined, forwarded: string, proxies: TrustedProxies): string {
  if (peer === undefined) return LOCAL_PEER;
  let address = unmapped(peer);
  if (forwarded === '' || !proxies.has(address)) return address;
  const hops = forwarded.split(',').slice(-MAX_HOPS);
  while (proxies.has(address) && hops.length > 0) {
    const before = addressIn(hops.pop() as string);
    // Nobody knows what a proxy means by this; its own address is all that is sure.
    if (before === undefined) break;
    address = before;
  }
  return address;
}

/** Whom an address stands for: a network hands out whole /64s of IPv6 to one subscriber (RFC 6177). */
export function subscriberOf(text: string): string {
  const address = unmapped(text);
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return `${[...left, ...zeros, ...right]
    .slice(0, 4)
    .map((group) => parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/** Whether it stands for callers on a unix socket, all of whom have this one. */
export function isLocal(subscriber: string): boolean {
  return subscriber === LOCAL_PEER;
}

/** Whom the other end of a connection stands for, as far as the connection tells. */
export function subscriberAt({ remoteAddress }: Pick<Socket, 'remoteAddress'>): string {
  return remoteAddress === undefined ? LOCAL_PEER : subscriberOf(remoteAddress);
}
