import { createRemoteJWKSet, customFetch, errors } from 'jose';
import type { JWTVerifyGetKey } from 'jose';
import { discover } from '../../runtime/oidc/discovery';
import type { ProviderMetadata } from '../../runtime/oidc/discovery';
import { OidcProviderError } from '../../runtime/oidc/errors';
import { fetchText } from '../../runtime/oidc/fetch';
import { verifyIdToken } from './id-token';
import type { VerifiedIdToken } from './id-token';
import { dateOf, isYounger, systemClock } from '../../runtime/clock';
import type { Clock } from '../../runtime/clock';

/** Where a provider's keys are hardly ever changes. */
const METADATA_MS = 3_600_000;
/** A provider that is down is not asked more often than this. */
const COOLDOWN_MS = 2_000;
/** Keys are fetched anew after this, and for a token of an unknown one, but then no more often than that. */
const KEYS_MS = 600_000;
const KEYS_COOLDOWN_MS = 30_000;

interface RelyingParty {
  /** As checkIssuer takes it. */
  issuer: string;
  clientId: string;
}

/** Checks ID tokens of one provider. Knows its metadata and keys for a while, and asks it for them once for all calls that wait. */
export class IdTokenVerifier {
  /** The metadata count for `ms` from `at` on. */
  private known: { metadata: Promise<ProviderMetadata>; at: number; ms: number } | undefined;
  private jwks: { uri: string; keys: JWTVerifyGetKey; usedAt: number } | undefined;

  constructor(
    private readonly party: RelyingParty,
    private readonly clock: Clock = systemClock,
  ) {}

  /** @throws IdTokenError; OidcProviderError */
  verify(token: string): Promise<VerifiedIdToken> {
    // Asked for a key once a token has the form of one.
    const keys: JWTVerifyGetKey = async (header, jws) => {
      const find = await this.keys();
      try {
        return await find(header, jws);
      } catch (error) {
        throw asProviderError(error);
      }
    };
    const { issuer, clientId } = this.party;
    return verifyIdToken(token, { issuer, clientId, keys, now: dateOf(this.clock) });
  }

  private async keys(): Promise<JWTVerifyGetKey> {
    const { jwksUri: uri } = await this.metadata();
    // jose would wait with a look at the provider until a clock that was put back has come that far again.
    if (this.jwks?.uri !== uri || this.clock.now() < this.jwks.usedAt) {
      const fetchKeys = async (url: string): Promise<Response> => {
        const { status, text } = await fetchText(url, { clock: this.clock });
        return new Response(text, { status });
      };
      // fetchText has its own time limit, which comes first.
      const options = {
        cacheMaxAge: KEYS_MS,
        cooldownDuration: KEYS_COOLDOWN_MS,
        timeoutDuration: 60_000,
        [customFetch]: fetchKeys,
      };
      this.jwks = { uri, keys: createRemoteJWKSet(new URL(uri), options), usedAt: 0 };
    }
    this.jwks.usedAt = this.clock.now();
    return this.jwks.keys;
  }

  private metadata(): Promise<ProviderMetadata> {
    if (this.known && isYounger(this.clock, this.known.at, this.known.ms)) return this.known.metadata;
    const known = {
      metadata: discover(this.party.issuer, { clock: this.clock }),
      at: this.clock.now(),
      ms: METADATA_MS,
    };
    known.metadata.catch(() => Object.assign(known, { at: this.clock.now(), ms: COOLDOWN_MS }));
    this.known = known;
    return known.metadata;
  }
}

/** What a key set is wrong about is the provider's fault, not the token's. */
function asProviderError(error: unknown): unknown {
  if (
    error instanceof errors.JWKSNoMatchingKey ||
    error instanceof errors.JWKSMultipleMatchingKeys ||
    !(error instanceof errors.JOSEError)
  )
    return error;
  return new OidcProviderError(
    'oidc.provider_invalid',
    `the key set of the OpenID provider is not right: ${error.message}`,
    { cause: error },
  );
}
