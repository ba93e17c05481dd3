import { z } from 'zod';

/** What the identity of pods takes from the environment. */
export const kubernetesIdentitySettings = z.object({
  /** The node that this attestor runs on, from the downward API. */
  NODE_NAME: z.string().min(1),
  ENCLAVE_NAMESPACE: z.string().default('licensing-enclaves'),
  ENCLAVE_SERVICE_ACCOUNT: z.string().default('enclave'),
  /** Images that get evidence, REPOSITORY@sha256:HEX or sha256:HEX, separated by commas. Others are refused. */
  ENCLAVE_IMAGES: z.string().transform((text, context) => {
    const digests = text.split(',').map((part) => part.trim().replace(/^.*@/, ''));
    if (digests.every((digest) => /^sha256:[0-9a-f]{64}$/.test(digest))) return digests;
    context.addIssue({ code: 'custom', message: 'expected REPOSITORY@sha256:HEX, separated by commas' });
    return z.NEVER;
  }),
});
