import { isIP } from 'node:net';
import type { ForwardTarget } from '../../index';
import { CliError, EXIT } from '../exit';

/** Where this machine listens. */
export type ListenPlace =
  | {
      /** Of each the same port: addresses, of which the first one has to be there. */
      addresses: string[];
      port: number;
      /** The port was only the enclave's: another one will do. */
      anyPort: boolean;
    }
  | { socket: string };

/** What one argument of `sls forward` asks for. */
export interface Forwarding {
  listen: ListenPlace;
  target: ForwardTarget;
}

/** As ssh does without an address: nobody but this machine. */
const LOOPBACK = ['127.0.0.1', '::1'];
const EVERYWHERE = ['0.0.0.0', '::'];
const FORMS =
  '[ADDRESS:]PORT[:PORT], and the forms of ssh -L: [ADDRESS:]PORT:HOST:PORT, PATH:PORT, PORT:PATH, PATH:PATH';

/** @throws CliError 2 */
export function parseForwarding(text: string): Forwarding {
  const fields = split(text);
  const [first = '', second = '', third = '', fourth = ''] = fields;
  if (fields.length === 1 && isPort(first)) return { listen: at(LOOPBACK, first, true), target: { port: port(first) } };
  if (fields.length === 2) {
    if (isPath(first)) return { listen: { socket: first }, target: place(second, text) };
    if (isPort(first)) return { listen: at(LOOPBACK, first), target: place(second, text) };
    return { listen: at(addresses(first, text), second, true), target: place(second, text) };
  }
  if (fields.length === 3) {
    if (isPath(first)) return { listen: { socket: first }, target: { host: second, port: port(third) } };
    if (isPort(first) && !isPort(second))
      return { listen: at(LOOPBACK, first), target: { host: second, port: port(third) } };
    return { listen: at(addresses(first, text), second), target: place(third, text) };
  }
  if (fields.length === 4)
    return { listen: at(addresses(first, text), second), target: { host: third, port: port(fourth) } };
  throw wrong(text);
}

/** One place in the enclave: PORT, HOST:PORT or PATH. @throws CliError 2 */
export function parseTarget(text: string): ForwardTarget {
  const fields = split(text);
  if (fields.length === 2) return { host: String(fields[0]), port: port(String(fields[1])) };
  return place(text, text);
}

/** For people. */
export function describeTarget(target: ForwardTarget): string {
  if ('socket' in target) return `enclave:${target.socket}`;
  const { host } = target;
  return `enclave:${host === undefined ? '' : `${bracketed(host)}:`}${target.port}`;
}

export function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

/** At colons that are not in brackets: those are an IPv6 address. */
function split(text: string): string[] {
  const fields = text.split(/:(?![^[]*\])/);
  return fields.map((field) => {
    const [, address] = /^\[([^[\]]*)\]$/.exec(field) ?? [];
    if (address === undefined && /[[\]]/.test(field)) throw wrong(text);
    return address ?? field;
  });
}

function place(text: string, whole: string): ForwardTarget {
  if (isPath(text)) return { socket: text };
  if (isPort(text)) return { port: port(text) };
  throw wrong(whole);
}

function at(addresses: string[], text: string, anyPort = false): ListenPlace {
  if (text === '0') return { addresses, port: 0, anyPort: false };
  return { addresses, port: port(text), anyPort };
}

function addresses(text: string, whole: string): string[] {
  if (text === '' || text === '*') return EVERYWHERE;
  if (text === 'localhost') return LOOPBACK;
  if (isIP(text) === 0) throw wrong(whole);
  return [text];
}

const isPath = (text: string): boolean => text.includes('/');
const isPort = (text: string): boolean => /^\d{1,5}$/.test(text);

function port(text: string): number {
  const number = isPort(text) ? Number(text) : 0;
  if (number >= 1 && number <= 65_535) return number;
  throw new CliError(EXIT.usage, `expected a port from 1 to 65535, got ${JSON.stringify(text)}`);
}

function wrong(text: string): CliError {
  return new CliError(EXIT.usage, `expected ${FORMS}; got ${JSON.stringify(text)}`, {
    hint: 'sls forward 8888, sls forward 9000:80',
  });
}
