import { hostname } from 'node:os';
import type { CallOptions } from '../index';
import { allowPlaintext } from './plaintext';

/** What every call of this program to the services says and demands. */
export function callOptions(): CallOptions {
  return { allowPlaintext: allowPlaintext(), clientName: hostname() };
}
