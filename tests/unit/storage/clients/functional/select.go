//go:build mint

// The functional tests of MinIO's client for Go, as they are in its module, run by name:
// those about ETag, checksums, ranges, copies, parts, lists and removal. One JSON object a test on standard output.
package main

import (
	"log/slog"
	"os"
)

func init() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	for _, test := range []func(){
		testPutObjectWithChecksums,
		testPutObjectWithTrailingChecksums,
		testPutMultipartObjectWithChecksums,
		testTrailingChecksums,
		testPutObjectWithAutomaticChecksums,
		testPutObjectWithMetadata,
		testPutObjectReadAt,
		testPutObjectStreaming,
		testPutObjectUploadSeekedObject,
		testPutObjectContext,
		testPutObjectWithContentLanguage,
		testFPutObject,
		testFPutObjectMultipart,
		testFGetObjectContext,
		testGetObjectSeekEnd,
		testGetObjectClosedTwice,
		testGetObjectContext,
		testGetObjectModified,
		testGetObjectRanges,
		testGetObjectReadAtFunctional,
		testGetObjectReadAtWhenEOFWasReached,
		testGetObjectReadSeekFunctional,
		testCopyObject,
		testUserMetadataCopying,
		testComposeObjectErrorCases,
		testListMultipartUpload,
		testListObjects,
		testMakeBucketError,
		testMakeBucketRegions,
		testRemoveMultipleObjects,
		testRemoveMultipleObjectsWithResult,
		testRemoveObjects,
	} {
		test()
	}
	os.Exit(0)
}
