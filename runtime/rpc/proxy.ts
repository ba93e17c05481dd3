import { BlockList, isIP } from 'node:net';
import type { ChannelOptions } from '@grpc/grpc-js';
import { CodedError } from '../../errors/coded-error';
import { grpcTarget, isLoopback } from './address';
import type { Address } from './address';

/** An HTTP proxy that opens tunnels by CONNECT (RFC 9110, 9.3.6). */
export interface Proxy {
  host: string;
  port: number;
  /** USER:PASSWORD. */
  credentials?: string | undefined;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** A variable names a proxy of a kind that isn't known here. Its value is not in the message: a password may be in it. */
class ProxyUnsupported extends CodedError<'config.invalid'> {
  override readonly name = 'ProxyUnsupported';
  readonly hint =
    'proxies of sls are http://[USER:PASSWORD@]HOST[:PORT]; NO_PROXY names hosts that are reached without one';
}

/** As curl has it where a proxy names no port. */
const DEFAULT_PORT = 1080;

/** Names a proxy for something. */
export const PROXY_VARIABLES = ['http_proxy', 'https_proxy', 'HTTPS_PROXY', 'all_proxy', 'ALL_PROXY'] as const;

/**
 * The proxy for an address, by the conventions of curl: `http_proxy` (in lower case alone, as HTTP_PROXY is a request's header to CGI programs) or
 * `https_proxy`, `HTTPS_PROXY` by the address's scheme, then `all_proxy`, `ALL_PROXY`; none for what `no_proxy`, `NO_PROXY` lists. Unlike curl, and as Go has
 * it, what stays on this machine never goes to a proxy, and a host of NO_PROXY may have a port. The lower case goes first, and what is empty is not set.
 * @throws CodedError config.invalid for a proxy of another kind
 */
export function proxyFor(address: Address, env: Environment = process.env): Proxy | undefined {
  if (address.scheme === 'unix') return undefined;
  const { scheme, host, port } = address;
  if (isLoopback(host) || /(^|\.)localhost\.?$/i.test(host) || isExempt(host, port, env)) return undefined;
  const names = scheme === 'http' ? ['http_proxy'] : ['https_proxy', 'HTTPS_PROXY'];
  const name = [...names, 'all_proxy', 'ALL_PROXY'].find((variable) => env[variable]);
  return name === undefined ? undefined : parseProxy(name, env[name] as string);
}

function parseProxy(variable: string, text: string): Proxy {
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(full) ? new URL(full) : undefined;
  if (url?.protocol !== 'http:' || url.hostname === '')
    throw new ProxyUnsupported('config.invalid', `${variable}: expected an HTTP proxy, got another kind or no URL`);
  const { username, password, hostname } = url;
  // URL leaves 80 out, as the scheme's own.
  const port = url.port === '' ? (/:80\/?$/.test(text) ? 80 : DEFAULT_PORT) : Number(url.port);
  const credentials = username === '' ? undefined : `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { host: hostname, port, credentials };
}

/** Whether NO_PROXY lists the host: `*`, a name (it, and what is below it), an IP address or a range of them in CIDR; each but `*` with a port or without. */
function isExempt(host: string, port: number, env: Environment): boolean {
  const plain = host.replace(/^\[|\]$|\.$/g, '').toLowerCase();
  return (env['no_proxy'] || env['NO_PROXY'] || '').split(/[\s,]+/).some((entry) => {
    if (entry === '*') return true;
    const [, bracketed, name = bracketed ?? '', wanted] =
      /^(?:\[(.+)\]|([^:]*|.*:.*:.*?))(?::(\d+))?$/.exec(entry) ?? [];
    if (name === '' || (wanted !== undefined && Number(wanted) !== port)) return false;
    return isIP(plain) ? isInRange(plain, name) : isBelow(plain, name.toLowerCase());
  });
}

function isBelow(host: string, entry: string): boolean {
  const name = entry.replace(/^\*?\./, '').replace(/\.$/, '');
  return host === name || host.endsWith(`.${name}`);
}

function isInRange(address: string, entry: string): boolean {
  const [net = '', prefix] = entry.split('/');
  const version = isIP(net);
  if (version === 0 || version !== isIP(address)) return false;
  const bits = prefix === undefined ? (version === 4 ? 32 : 128) : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1;
  if (bits < 0 || bits > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? 'ipv4' : 'ipv6';
  const list = new BlockList();
  list.addSubnet(net, bits, family);
  return list.check(address, family);
}

/**
 * What grpc-js is given to reach an address: by the proxy that `proxyFor` says, or by none. Its own look into the environment, which takes http_proxy for
 * everything and knows few of the conventions, is off.
 * @throws as proxyFor
 */
export function channelTo(address: Address, env?: Environment): { target: string; options: ChannelOptions } {
  const target = grpcTarget(address);
  const direct = { 'grpc.enable_http_proxy': 0 };
  const proxy = proxyFor(address, env);
  if (!proxy) return { target, options: direct };
  return {
    target: `dns:${proxy.host}:${proxy.port}`,
    options: {
      ...direct,
      // What grpc-js itself gives a channel by a proxy (its http_proxy.ts).
      'grpc.http_connect_target': `dns:${target}`,
      'grpc.default_authority': target,
      ...(proxy.credentials !== undefined && { 'grpc.http_connect_creds': proxy.credentials }),
    },
  };
}
