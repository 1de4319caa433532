"""The MinIO Python client with its defaults: upload, list, download, 20 MiB in parts, delete; prints "ok"."""

import io
import sys

from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

endpoint, access, secret = sys.argv[1:]
client = Minio(endpoint=endpoint, access_key=access, secret_key=secret, secure=False)
client.make_bucket(bucket_name="minio")
assert client.bucket_exists(bucket_name="minio")

small, large = b"some bytes", bytes(range(256)) * (20 * 4096)
for name, body in (("folder/small ü", small), ("large", large)):
    made = client.put_object(
        bucket_name="minio",
        object_name=name,
        data=io.BytesIO(body),
        length=len(body),
        metadata={"colour": "red"},
        part_size=5 * 1024 * 1024,
    )
    answer = client.get_object(bucket_name="minio", object_name=name)
    assert answer.read() == body, name
    answer.close()
    found = client.stat_object(bucket_name="minio", object_name=name)
    assert (found.size, found.etag) == (len(body), made.etag)
    assert found.metadata["x-amz-meta-colour"] == "red"
listed = client.list_objects(bucket_name="minio", recursive=True)
assert [(item.object_name, item.size) for item in listed] == [("folder/small ü", len(small)), ("large", len(large))]
assert {item.object_name for item in client.list_objects(bucket_name="minio")} == {"folder/", "large"}
part = client.get_object(bucket_name="minio", object_name="large", offset=256, length=3)
assert part.read() == b"\x00\x01\x02"
part.close()
errors = client.remove_objects(
    bucket_name="minio", delete_object_list=[DeleteObject("folder/small ü"), DeleteObject("large")]
)
assert not list(errors)
code = ""
try:
    client.stat_object(bucket_name="minio", object_name="large")
except S3Error as error:
    code = error.code
assert code == "NoSuchKey", code
client.remove_bucket(bucket_name="minio")
print("ok")
