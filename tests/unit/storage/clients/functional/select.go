//go:build mint

// The functional tests of MinIO's client for Go, as they are in its module, run by name:
// those about ETag, checksums, ranges, copies, parts, lists and removal. One JSON object a test on standard output.
// Left out are those that want an object of 129 MiB, a lock, versions or encryption.
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
		testTrailingChecksums,
		testPutObjectWithAutomaticChecksums,
		testPutObjectStreaming,
		testPutObjectUploadSeekedObject,
		testPutObjectContext,
		testPutObjectWithContentLanguage,
		testFGetObjectContext,
		testGetObjectSeekEnd,
		testGetObjectClosedTwice,
		testGetObjectContext,
		testGetObjectModified,
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
	} {
		test()
	}
	os.Exit(0)
}
