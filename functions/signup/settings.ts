import { z } from 'zod';
import { accountSettings } from '../../core/accounts/backend';
import { listenSettings } from '../../core/config/listen';
import { oidcSettings } from '../../core/oidc/settings';

export const signupSettings = z.object({ ...listenSettings, ...accountSettings, ...oidcSettings });
