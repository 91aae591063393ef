// What clients see: a host with `/v2/` at its root. docker has no way to say a path before it.
import { join } from 'node:path';
import { Duration, Fn, Validations } from 'aws-cdk-lib';
import { BasePathMapping, DomainName, EndpointType, SecurityPolicy } from 'aws-cdk-lib/aws-apigateway';
import type { ICertificate } from 'aws-cdk-lib/aws-certificatemanager';
import {
  AllowedMethods,
  CachePolicy,
  Function as CloudFrontFunction,
  Distribution,
  FunctionCode,
  FunctionEventType,
  FunctionRuntime,
  HttpVersion,
  OriginProtocolPolicy,
  OriginRequestPolicy,
  OriginSslPolicy,
  PriceClass,
  ViewerProtocolPolicy,
} from 'aws-cdk-lib/aws-cloudfront';
import { HttpOrigin } from 'aws-cdk-lib/aws-cloudfront-origins';
import { ARecord, type IHostedZone, RecordTarget } from 'aws-cdk-lib/aws-route53';
import { ApiGatewayDomain } from 'aws-cdk-lib/aws-route53-targets';
import { Construct } from 'constructs';
import { type RegistryApi, stageName } from './registry-api.ts';

export type FrontProps =
  /** A CloudFront distribution with a name of its own. The default. */
  | { readonly kind: 'cloudfront'; readonly webAclArn?: string; readonly priceClass?: PriceClass }
  /** A name of the team's, served by API Gateway itself. */
  | {
      readonly kind: 'domain';
      readonly name: string;
      /** In the stack's Region. */
      readonly certificate: ICertificate;
      /** Where the name is to be recorded. Absent: record it yourself, as an alias of the output `DomainTarget`. */
      readonly hostedZone?: IHostedZone;
    }
  /** Something of the team's that passes everything on to the stage's URL, with what front-request.js adds as `Slipway-Challenge`. */
  | { readonly kind: 'proxy'; readonly url: string };

/** All that CloudFront can be told how long to keep. The key of what is kept has neither query nor Authorization in it. */
const errors = [400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504];

export class Front extends Construct {
  /** Where clients reach the registry, without a slash at the end. */
  readonly url: string;
  /** What comes before the first slash in an image's name. */
  readonly host: string;
  readonly domain?: DomainName;
  /** Whether every request gets the header with its challenge: API Gateway by itself has none to give. */
  readonly challenges: boolean;

  constructor(scope: Construct, id: string, api: RegistryApi, props: FrontProps) {
    super(scope, id);
    this.challenges = props.kind !== 'domain';
    if (props.kind === 'proxy') {
      const { origin, host } = new URL(props.url);
      this.url = origin;
      this.host = host;
      return;
    }
    if (props.kind === 'domain') {
      this.domain = new DomainName(this, 'Domain', {
        domainName: props.name,
        certificate: props.certificate,
        endpointType: EndpointType.REGIONAL,
        securityPolicy: SecurityPolicy.TLS_1_2,
      });
      new BasePathMapping(this, 'Root', { domainName: this.domain, restApi: api.api });
      if (props.hostedZone !== undefined) {
        new ARecord(this, 'Record', {
          zone: props.hostedZone,
          recordName: props.name,
          target: RecordTarget.fromAlias(new ApiGatewayDomain(this.domain)),
        });
      }
      this.host = props.name;
      this.url = `https://${props.name}`;
      return;
    }
    const distribution = new Distribution(this, 'Distribution', {
      comment: 'Slipway: puts /v2/ at the root of a host',
      defaultBehavior: {
        origin: new HttpOrigin(api.ownHost, {
          originPath: `/${stageName}`,
          protocolPolicy: OriginProtocolPolicy.HTTPS_ONLY,
          originSslProtocols: [OriginSslPolicy.TLS_V1_2],
          readTimeout: Duration.seconds(60),
        }),
        allowedMethods: AllowedMethods.ALLOW_ALL,
        // Answers depend on who asks; blobs do not come this way.
        cachePolicy: CachePolicy.CACHING_DISABLED,
        // Authorization is among them. Host is not: the gateway finds its API by it.
        originRequestPolicy: OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
        viewerProtocolPolicy: ViewerProtocolPolicy.HTTPS_ONLY,
        functionAssociations: [
          {
            eventType: FunctionEventType.VIEWER_REQUEST,
            function: new CloudFrontFunction(this, 'Challenge', {
              comment: 'Slipway: the challenge that a 401 of this request has, and what is too large',
              code: FunctionCode.fromFile({ filePath: join(import.meta.dirname, 'front-request.js') }),
              runtime: FunctionRuntime.JS_2_0,
            }),
          },
        ],
      },
      // Kept for ten seconds otherwise, whatever the cache policy: a client that has just pushed would be told that there is no such blob.
      errorResponses: errors.map((httpStatus) => ({ httpStatus, ttl: Duration.seconds(0) })),
      httpVersion: HttpVersion.HTTP2_AND_3,
      priceClass: props.priceClass ?? PriceClass.PRICE_CLASS_100,
      ...(props.webAclArn === undefined ? {} : { webAclId: props.webAclArn }),
    });
    Validations.of(distribution).acknowledge(
      { id: 'AwsSolutions-CFR1', reason: 'Where a team works is not for us to say.' },
      {
        id: 'AwsSolutions-CFR2',
        reason: 'No web application firewall by default, because it costs more than the rest at rest. Pass `webAclArn` for one.',
      },
      { id: 'AwsSolutions-CFR3', reason: 'Everything is passed on to the API, which writes an access log of it.' },
      {
        id: 'AwsSolutions-CFR4',
        reason:
          'The certificate is that of *.cloudfront.net, whose TLS policy CloudFront sets. Use the front `domain` for one of your own.',
      },
    );
    this.host = distribution.distributionDomainName;
    this.url = Fn.join('', ['https://', this.host]);
  }
}
