import { deadline } from '../rpc/deadline';
import type { Clock } from '../clock';
import { OidcProviderError } from './errors';
import { requestHttp } from './request';
import type { HttpAnswer } from './request';
import { CodedError } from '../../errors/coded-error';
import { decodeUtf8 } from '../text/utf8';

/** For connection, answer and all of its text together. */
const TIMEOUT_MS = 5_000;
/** Metadata and key sets take a few thousand bytes. */
const MAX_BYTES = 256 * 1024;

export interface FetchOptions {
  /** Sent as application/x-www-form-urlencoded, by POST. */
  form?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** The system's, unless told. */
  clock?: Clock | undefined;
}

/**
 * Fetches a text from a provider. Bounded in time and size; redirects are not followed: a provider is where its metadata says.
 * @throws OidcProviderError; what `signal` was aborted with
 */
export async function fetchText(
  url: string,
  { form, signal, clock }: FetchOptions = {},
): Promise<{ status: number; text: string }> {
  const limit = deadline(TIMEOUT_MS, clock);
  try {
    const response = await requestHttp(url, {
      form,
      signal: signal ? AbortSignal.any([signal, limit.signal]) : limit.signal,
    });
    const { status } = response;
    if (status >= 500 || status === 429) {
      await response.cancel();
      throw new OidcProviderError(
        'oidc.provider_unavailable',
        `the OpenID provider ${hostOf(url)} can't answer now (HTTP ${status})`,
      );
    }
    return { status, text: await readBounded(response, url) };
  } catch (error) {
    signal?.throwIfAborted();
    // Also of a proxy that isn't one.
    if (error instanceof CodedError) throw error;
    const late = limit.signal.aborted;
    throw new OidcProviderError(
      'oidc.provider_unavailable',
      `the OpenID provider ${hostOf(url)} ${late ? `does not answer within ${TIMEOUT_MS} ms` : "can't be reached"}`,
      { cause: error },
    );
  } finally {
    limit.clear();
  }
}

/** As `fetchText`, for what has to be there. @throws OidcProviderError */
export async function fetchJson(url: string, options?: FetchOptions): Promise<unknown> {
  const { status, text } = await fetchText(url, options);
  if (status !== 200)
    throw new OidcProviderError('oidc.provider_invalid', `expected HTTP 200 of ${withoutQuery(url)}, got ${status}`);
  return parseJson(text, url);
}

/** @throws OidcProviderError */
export function parseJson(text: string, url: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new OidcProviderError('oidc.provider_invalid', `expected JSON of ${withoutQuery(url)}, got something else`);
  }
}

async function readBounded({ body }: HttpAnswer, url: string): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_BYTES)
      throw new OidcProviderError(
        'oidc.provider_invalid',
        `expected ${MAX_BYTES} bytes at most of ${withoutQuery(url)}, got more`,
      );
    chunks.push(chunk);
  }
  try {
    return decodeUtf8(Buffer.concat(chunks), withoutQuery(url));
  } catch (cause) {
    throw new OidcProviderError('oidc.provider_invalid', (cause as Error).message, { cause });
  }
}

const hostOf = (url: string): string => new URL(url).host;

function withoutQuery(text: string): string {
  const { origin, pathname } = new URL(text);
  return origin + pathname;
}
