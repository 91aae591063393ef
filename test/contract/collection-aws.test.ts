import { describe, inject, test } from 'vitest';
import { awsParts } from './aws-parts.ts';
import { collectionSuite } from './collection-suite.ts';

const aws = inject('aws');

if ('missing' in aws) {
  describe('collection on DynamoTable and S3Blobs', () => test.skip(aws.missing));
} else {
  const open = () => awsParts(aws.endpoint);
  // Every call is a request: a few of the interleavings.
  collectionSuite('DynamoTable and S3Blobs', open, 12);
}
