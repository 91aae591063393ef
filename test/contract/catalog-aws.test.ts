import { describe, inject, test } from 'vitest';
import { awsParts } from './aws-parts.ts';
import { racesContract } from './catalog-races-suite.ts';
import { removalContract } from './catalog-removal-suite.ts';
import { catalogContract } from './catalog-suite.ts';

const aws = inject('aws');

if ('missing' in aws) {
  describe('catalog on DynamoTable and S3Blobs', () => test.skip(aws.missing));
} else {
  const open = () => awsParts(aws.endpoint);
  catalogContract('DynamoTable and S3Blobs', open);
  removalContract('DynamoTable and S3Blobs', open);
  racesContract('DynamoTable and S3Blobs', open);
}
