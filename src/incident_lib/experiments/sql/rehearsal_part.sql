-- Question: what stands on the copy for a part of a key? Equal values stay equal, and no value leaves the server.
-- Parameters: none; the part is put into the braces. The two padded keys of HMAC-SHA256 are settings of the transaction,
--             incident_lib.inner and .outer (hex). It is an expression of a query that is made of several.
-- Columns: none.
-- Order: none.
(SELECT encode(sha256(decode(current_setting('incident_lib.outer'), 'hex')
    || sha256(decode(current_setting('incident_lib.inner'), 'hex')
        || convert_to(({value})::text, getdatabaseencoding()))), 'hex'));
