import type { TrustBundle } from '../../attestation/trust/bundle';
import type { Output } from './output';
import { applyPreferences, keepNewerTrust } from './trust';
import type { TrustPreferences } from './trust';

/** The trust of one command: the operator's bundle with the person's own preferences over it, replaced when a newer bundle comes. */
export class TrustKeeper {
  private current: TrustBundle;
  /** A newer bundle came. */
  renewed = false;

  constructor(
    bundle: TrustBundle,
    readonly preferences: TrustPreferences,
    private readonly out: Output,
  ) {
    this.current = applyPreferences(bundle, preferences);
  }

  get trust(): TrustBundle {
    return this.current;
  }

  /** For `onTrust` of the library. */
  readonly onTrust = async (newer: TrustBundle): Promise<TrustBundle> => {
    if (await keepNewerTrust(newer))
      this.out.note(`trust bundle ${newer.sequence} taken from the service: signed by the trust key that is pinned`);
    this.renewed = true;
    this.current = applyPreferences(newer, this.preferences);
    return this.current;
  };
}
