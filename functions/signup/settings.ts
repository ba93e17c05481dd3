import { z } from 'zod';
import { accountSettings } from '../../licensing/accounts/backend';
import { listenSettings } from '../../runtime/config/listen';
import { oidcSettings } from '../../licensing/oidc/settings';

export const signupSettings = z.object({ ...listenSettings, ...accountSettings, ...oidcSettings });
